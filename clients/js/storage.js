// Where pending messages outlive the page. A storage is { list(box), put(box, item), remove(box, id) }, each a promise
// or not; an item is JSON with an `id`, and a box belongs to one user at one server. Several tabs may use one.

/** Gone with the page: for tests, and where there is nothing else. */
export function memory() {
  const boxes = new Map();
  const of = (box) => boxes.get(box) ?? boxes.set(box, new Map()).get(box);
  return {
    list: (box) => [...of(box).values()].map((item) => structuredClone(item)),
    put: (box, item) => void of(box).set(item.id, structuredClone(item)),
    remove: (box, id) => void of(box).delete(id),
  };
}

/** The browser's own: all tabs of an origin share it. */
export function indexedDb(name = "parley") {
  const opening = new Promise((resolve, reject) => {
    const asked = indexedDB.open(name, 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore("pending", { keyPath: ["box", "id"] });
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
  opening.catch(() => {}); // each use says so
  const use = async (mode, act) => {
    const transaction = (await opening).transaction("pending", mode);
    return new Promise((resolve, reject) => {
      const asked = act(transaction.objectStore("pending"));
      transaction.commit?.(); // at once: the page may be about to go
      transaction.oncomplete = () => resolve(asked.result);
      transaction.onabort = () => reject(transaction.error);
    });
  };
  return {
    list: (box) => use("readonly", (store) => store.getAll(IDBKeyRange.bound([box], [box, []]))),
    put: (box, item) => use("readwrite", (store) => store.put({ ...item, box })),
    remove: (box, id) => use("readwrite", (store) => store.delete([box, id])),
  };
}
