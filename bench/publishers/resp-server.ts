import { createServer, type AddressInfo, type Socket } from "node:net";

/** Takes an event for a channel; resolves when it is on its way. */
export type Publish = (channel: string, data: string) => Promise<unknown>;

/**
 * Speaks just so much of Redis' protocol that the load client can publish through it: one code path in the client,
 * whatever the server under test is fed by. Runs in a process of its own, whose CPU is not the server's.
 */
export function servePublish(publish: Publish): void {
  const server = createServer((socket) => acceptPublish(socket, publish));
  server.listen({ port: 0, host: "127.0.0.1" }, () =>
    process.send?.({ port: (server.address() as AddressInfo).port }),
  );
  process.on("disconnect", () => process.exit(0));
}

/** Takes what comes over one connection. */
export function acceptPublish(socket: Socket, publish: Publish): void {
  const answers = createAnswers(socket);
  let rest = "";
  socket.setNoDelay(true);
  socket.setEncoding("latin1");
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk) => {
    const { commands, left } = parseCommands(rest + String(chunk));
    rest = left;
    for (const [, channel = "", data = ""] of commands) {
      publish(channel, data).then(
        () => answers(":1\r\n"),
        (error: unknown) => answers(`-ERR ${String(error).replaceAll(/\s+/g, " ")}\r\n`),
      );
    }
  });
}

/** One write for all answers of a turn. */
function createAnswers(socket: Socket): (answer: string) => void {
  let waiting = "";
  return (answer) => {
    if (waiting === "") {
      setImmediate(() => {
        socket.write(waiting);
        waiting = "";
      });
    }
    waiting += answer;
  };
}

/** Whole commands, each an array of bulk strings, and what is left of one that has not come entirely. */
function parseCommands(text: string): { commands: string[][]; left: string } {
  const commands: string[][] = [];
  for (let at = 0; ;) {
    const command = parseCommand(text, at);
    if (command === null) return { commands, left: text.slice(at) };
    commands.push(command.words);
    at = command.end;
  }
}

function parseCommand(text: string, start: number): { words: string[]; end: number } | null {
  const head = text.indexOf("\r\n", start);
  if (head < 0) return null;
  const words: string[] = [];
  let at = head + 2;
  for (let count = Number(text.slice(start + 1, head)); count > 0; count--) {
    const line = text.indexOf("\r\n", at);
    if (line < 0) return null;
    const end = line + 2 + Number(text.slice(at + 1, line));
    if (end + 2 > text.length) return null;
    words.push(text.slice(line + 2, end));
    at = end + 2;
  }
  return { words, end: at };
}
