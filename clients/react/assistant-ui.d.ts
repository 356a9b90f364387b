// A session of Parley's as a thread of assistant-ui's.
import type { AssistantRuntime, ExternalStoreAdapter } from "@assistant-ui/react";

/** For `<AssistantRuntimeProvider runtime={…}>`. `more` goes to `useExternalStoreRuntime` as it is.
 *  `metadata.custom.message` of a message is Parley's own. */
export function useParleyRuntime(id: string | null | undefined, more?: Partial<Omit<ExternalStoreAdapter, "messages" | "messageRepository" | "convertMessage">>): AssistantRuntime;
