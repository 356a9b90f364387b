// Hooks over parley-client. README.md beside this file shows how they are used.
export { ParleyProvider, useParley } from "./provider.js";
export { useStore } from "./store.js";
export { isAnswering, named, readersOf, versionsOf } from "./state.js";
export { useAway, useConnection, usePresence, useReading, useSession, useSessions, useTyping } from "./sessions.js";
export { useDropped, useFileUrl, useUpload } from "./files.js";
export { marksOf, useSearch } from "./search.js";
export { askOf } from "./asks.js";
export { useDraft } from "./draft.js";
export { useLongList } from "./longlist.js";
export { useComposer, useEdit } from "./composer.js";
export { useMessages } from "./messages.js";
export { useAbout, useAgents } from "./about.js";
