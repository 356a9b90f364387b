// What tests ask of the official, unmodified Socket.IO client, wherever it runs: its drivers are beside this file.
// Self-contained, so that a page can be given its text.

/** Commands over sockets that `io` makes; their doings are told by `say({client, event, …})`. */
export function commandsOf(io, say) {
  const sockets = new Map();

  function transportOf(socket) {
    const transport = socket.io.engine?.transport;
    if (!transport) throw new Error("not connected");
    return transport;
  }

  return {
    open({ client, url, options }) {
      const socket = io(url, { forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200, ...options });
      sockets.set(client, socket);
      socket.on("connect", () => {
        say({
          client, event: "connect", id: socket.id, recovered: socket.recovered,
          transport: socket.io.engine.transport.name,
        });
      });
      socket.io.on("open", () =>
        socket.io.engine.once("upgrade", (transport) => say({ client, event: "upgrade", transport: transport.name })));
      // Before it was connected, too.
      socket.io.on("close", (reason) => say({ client, event: "closed", reason }));
      socket.on("disconnect", (reason, details) =>
        say({ client, event: "disconnect", reason, details: details?.description?.toString?.() }));
      socket.on("connect_error", (error) =>
        say({
          client, event: "connect_error", message: error.message, data: error.data,
          context: { responseText: error.context?.responseText },
        }));
      socket.onAny((name, ...args) => say({ client, event: "event", name, args }));
      return {};
    },
    async emit({ client, args, ack, timeout }) {
      const socket = sockets.get(client);
      if (!ack) return void socket.emit(...args);
      if (socket.emitWithAck) return await socket.timeout(timeout).emitWithAck(...args);
      return await new Promise((resolve, reject) => {  // before 4.6
        const timer = setTimeout(() => reject(new Error("operation has timed out")), timeout);
        socket.emit(...args, (answer) => {
          clearTimeout(timer);
          resolve(answer);
        });
      });
    },
    // With a callback, as the first documentation of acknowledgements has it; returns what that is given.
    emitRaw({ client, args }) {
      return new Promise((resolve) => sockets.get(client).emit(...args, (...given) => resolve(given)));
    },
    volatile({ client, args }) {
      sockets.get(client).volatile.emit(...args);
    },
    // A closed socket: the server is told.
    close({ client }) {
      sockets.get(client).disconnect();
    },
    connect({ client, auth }) {
      const socket = sockets.get(client);
      if (auth) socket.auth = auth;
      socket.connect();
    },
    auth({ client, auth }) {
      sockets.get(client).auth = auth;
    },
    // The network breaks: the TCP connection is reset under the client's feet.
    cut({ client }) {
      transportOf(sockets.get(client)).ws._socket.resetAndDestroy();
    },
    // A phone that left its network: this side believes the connection is gone and connects
    // anew; the old TCP connection stays open and silent, so the server still believes in it.
    halfOpen({ client }) {
      const { engine } = sockets.get(client).io;
      const transport = transportOf(sockets.get(client));
      const { ws } = transport;
      ws.onopen = ws.onclose = ws.onmessage = ws.onerror = null;
      ws._socket.pause();
      transport.ws = undefined;
      engine._onClose("transport close");
      return {};
    },
    // A tab in the background: it stops reading, the socket stays open.
    pause({ client }) {
      transportOf(sockets.get(client)).ws._socket.pause();
    },
    resume({ client }) {
      transportOf(sockets.get(client)).ws._socket.resume();
    },
    state({ client }) {
      const socket = sockets.get(client);
      return {
        id: socket.id, pid: socket._pid, offset: socket._lastOffset, connected: socket.connected,
        recovered: socket.recovered, active: socket.active, transport: socket.io.engine?.transport?.name,
      };
    },
    closeAll() {
      for (const socket of sockets.values()) socket.disconnect();
    },
  };
}
