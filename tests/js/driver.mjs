// The official Socket.IO client in this runtime (Node, Bun, Deno), driven by JSON lines: one command a line on
// standard input, replies ({id, result | error}) and events ({client, event, …}) on output.
// node driver.mjs <package>
import { createInterface } from "node:readline";
import process from "node:process";
import { commandsOf } from "./sockets.mjs";

const { io } = await import(process.argv[2]);
const commands = commandsOf(io, say);

function say(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, command, ...rest } = JSON.parse(line);
  // Not awaited: commands begin in the order of their lines, replies come when they come.
  (async () => commands[command](rest))().then(
    (result) => say({ id, result: result ?? null }),
    (error) => say({ id, error: String(error?.message ?? error) }),
  );
}
commands.closeAll();
process.exit(0);
