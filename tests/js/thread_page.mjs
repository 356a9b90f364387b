// assistant-ui's thread on a session: ?session=…&parley=…&token=…
import { createElement as h } from "react";
import { createRoot } from "react-dom/client";
import {
  ActionBarPrimitive, AssistantRuntimeProvider, AuiIf, BranchPickerPrimitive, ComposerPrimitive, MessagePrimitive, ThreadPrimitive,
} from "@assistant-ui/react";
import { ParleyProvider } from "parley-react";
import { useParleyRuntime } from "parley-react/assistant-ui";

const { session, parley, token } = Object.fromEntries(new URLSearchParams(location.search));

function Part({ part }) {
  if (part.type === "text") return h("span", null, part.text);
  if (part.type === "reasoning") return h("i", null, part.text);
  if (part.type === "source") return h("a", { href: part.url }, part.title);
  if (part.type !== "tool-call") return null;
  const { approval } = part;
  if (!approval || approval.approved !== undefined || approval.resolution) return h("code", null, `${part.toolName} ${part.argsText}`);
  return h("button", { onClick: () => part.respondToApproval({ approved: true }) }, approval.prompt);
}

const message = (role, actions) => () =>
  h(MessagePrimitive.Root, { "data-testid": role },
    h("p", { "data-testid": `${role}-text` }, h(MessagePrimitive.Parts, null, ({ part }) => h(Part, { part }))),
    h(ActionBarPrimitive.Root, null, actions()),
    h(BranchPickerPrimitive.Root, { hideWhenSingleBranch: true },
      h(BranchPickerPrimitive.Previous, { "aria-label": "Older version" }, "‹"),
      h("span", { "data-testid": "version" }, h(BranchPickerPrimitive.Number), "/", h(BranchPickerPrimitive.Count)),
      h(BranchPickerPrimitive.Next, { "aria-label": "Newer version" }, "›")));

const UserMessage = message("user", () => h(ActionBarPrimitive.Edit, { "aria-label": "Edit" }, "Edit"));
const AssistantMessage = message("assistant", () => h(ActionBarPrimitive.Reload, { "aria-label": "Again" }, "Again"));
const UserEditComposer = () =>
  h(ComposerPrimitive.Root, null, h(ComposerPrimitive.Input, { "aria-label": "Other words" }), h(ComposerPrimitive.Send, null, "Save"));

function Page() {
  const runtime = useParleyRuntime(session);
  return h(AssistantRuntimeProvider, { runtime },
    h(ThreadPrimitive.Root, null, h(ThreadPrimitive.Viewport, null,
      h(ThreadPrimitive.Messages, { components: { UserMessage, AssistantMessage, UserEditComposer } }),
      h(AuiIf, { condition: ({ thread }) => thread.isRunning }, h(ComposerPrimitive.Cancel, { "aria-label": "Stop" }, "Stop")),
      h(ComposerPrimitive.Root, null, h(ComposerPrimitive.Input, { id: "say", "aria-label": "Message" })))));
}

createRoot(document.getElementById("root")).render(h(ParleyProvider, { url: parley, getToken: () => token }, h(Page)));
