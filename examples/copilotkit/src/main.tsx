// A page of CopilotKit's whose runtime is Parley. Its address says where Parley is, with which token, whom it asks and
// in which thread: ?parley=http://127.0.0.1:8003&token=…&agent=Echo&thread=…
import { createRoot } from "react-dom/client";
import {
  CopilotChat,
  CopilotKitProvider,
  useAgentContext,
  useFrontendTool,
  useInterrupt,
} from "@copilotkit/react-core/v2";
import "@copilotkit/react-core/v2/styles.css";
import { z } from "zod";

const given = new URLSearchParams(location.search);
const agent = given.get("agent") ?? "default";
// A refresh comes back to the same thread: the answer that is being written goes on in the page.
const thread = given.get("thread") ?? crypto.randomUUID();
given.set("thread", thread);
history.replaceState(null, "", `?${given}`);

function Chat() {
  useAgentContext({ description: "The colour of the page", value: document.body.style.backgroundColor || "white" });
  useFrontendTool({
    name: "paint",
    description: "Gives the page a colour.",
    parameters: z.object({ colour: z.string() }),
    handler: async ({ colour }: { colour: string }) => {
      document.body.style.backgroundColor = colour;
      return `the page is ${colour}`;
    },
  });
  useInterrupt({
    agentId: agent,
    render: ({ interrupt, resolve }) => (
      <p>
        {interrupt?.message ?? "May I?"} <button onClick={() => resolve({ approved: true })}>Yes</button>{" "}
        <button onClick={() => resolve({ approved: false })}>No</button>
      </p>
    ),
  });
  return <CopilotChat agentId={agent} threadId={thread} />;
}

createRoot(document.getElementById("root")!).render(
  <CopilotKitProvider
    runtimeUrl={`${given.get("parley") ?? "http://127.0.0.1:8003"}/api/ag-ui`}
    headers={{ Authorization: `Bearer ${given.get("token")}` }}
    showDevConsole={false}
  >
    <Chat />
  </CopilotKitProvider>,
);
