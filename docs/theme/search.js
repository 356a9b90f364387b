// Finding in the site's index. Knows no DOM.
//
// A word is found anywhere in a text, as Korean writes particles after words and sets words together (토큰이, 새토큰을,
// 회의실예약). So a Korean word is looked for without its particle, and in texts without their spaces, too. Most pages
// are in English: words.json says what a Korean word is there.
const PARTICLES = /(?:에서는|으로는|에게서|이라는|에서|에게|으로|부터|까지|처럼|보다|마다|하고|이란|은|는|이|가|을|를|에|의|와|과|도|만|로|란)$/;
const HANGUL = /\p{Script=Hangul}/u;
/** For who changes Parley: after what is for who uses it. */
const INSIDE = /^(adr|bench|changelog|conformance|contributing|state)/;
const LATIN = /^[\p{Script=Latin}\d]/u;

const folded = (text) => text.normalize("NFKC").toLowerCase();

/** The index as ProperDocs writes it ({docs: [{location, title, text}]}), ready to be asked. */
export function prepared({ docs }, words = {}) {
  const pages = new Map(docs.filter(({ location }) => !location.includes("#")).map((each) => [each.location, each.title]));
  const entries = docs.map(({ location, title, text }) => {
    const page = pages.get(location.split("#")[0]) ?? "";
    const [head, body] = [folded(title), folded(text)];
    return { location, title, page, text, head, body, close: HANGUL.test(head + body) ? (head + body).replace(/\s+/g, "") : "" };
  });
  return { entries, words };
}

/** What a word of the question may stand as in a text. */
function spellings(word, words) {
  if (!HANGUL.test(word)) return [word];
  const stem = word.replace(PARTICLES, "");
  const found = [word, ...(stem.length > 1 ? [stem] : [])];
  const meant = Object.keys(words).filter((each) => word.startsWith(each)).sort((a, b) => b.length - a.length)[0];
  return meant ? [...found, ...words[meant]] : found;
}

function weight(entry, spelling) {
  const at = (text) => {
    const place = text.indexOf(spelling);
    if (place < 0) return 0;
    return place === 0 || !LATIN.test(text[place - 1]) || !LATIN.test(spelling) ? 2 : 1;
  };
  if (entry.head === spelling) return 40;
  return at(entry.head) * 8 || at(entry.body) * 2 || (HANGUL.test(spelling) && entry.close.includes(spelling) ? 1 : 0);
}

/** The best entries, each with the spellings that it has. Every word has to be there. */
export function search({ entries, words }, question, most = 12) {
  const asked = folded(question).split(/\s+/).filter(Boolean).slice(0, 10).map((word) => spellings(word, words));
  if (!asked.length) return [];
  const found = [];
  for (const entry of entries) {
    let total = 0;
    const has = [];
    for (const choices of asked) {
      const weights = choices.map((each) => weight(entry, each));
      const best = Math.max(...weights);
      if (!best) { total = 0; break; }
      total += best;
      has.push(choices[weights.indexOf(best)]);
    }
    if (total) found.push({ ...entry, total: total * (INSIDE.test(entry.location) ? 0.5 : 1), has });
  }
  return found.sort((a, b) => b.total - a.total || a.body.length - b.body.length).slice(0, most);
}

/** The text around the first place, as [before, match, after]. */
export function around({ text, has }, reach = 60) {
  const plain = text.replace(/\s+/g, " ").normalize("NFKC");
  const lower = plain.toLowerCase();
  for (const each of has) {
    const at = lower.indexOf(each);
    if (at < 0) continue;
    const from = Math.max(0, at - reach);
    return [(from ? "… " : "") + plain.slice(from, at), plain.slice(at, at + each.length), plain.slice(at + each.length, at + each.length + reach * 2)];
  }
  return [plain.slice(0, reach * 3), "", ""];
}
