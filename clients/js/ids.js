// Ids that nobody can guess.

/** Also where a page came over plain http: it has no `crypto.randomUUID`. */
export const newId = () => crypto.getRandomValues(new Uint32Array(4)) + "";
