import type { Source, SourceEnd, SourceListener, SourceRequest } from "../../client/index.js";

export const HEARTBEAT_MS = 15_000;

const NETWORK: SourceEnd = { reason: "network", isFinal: false };

/** One connection of a source. */
interface Attempt {
  readonly request: SourceRequest;
  readonly listener: SourceListener;
  end(end?: SourceEnd): Promise<void>;
}

/** A source of `connect()` whose connections the test answers. */
export class ScriptedSource implements Source {
  readonly name = "/events";
  readonly attempts: Attempt[] = [];

  open(request: SourceRequest, listener: SourceListener): Promise<SourceEnd> {
    return new Promise((resolve) => {
      const end = async (given: SourceEnd = NETWORK): Promise<void> => {
        resolve(given);
        await flush();
      };
      this.attempts.push({ request, listener, end });
    });
  }

  get last(): Attempt {
    return this.attempts.at(-1)!;
  }

  /** The number of connections that are not aborted. */
  get openCount(): number {
    return this.attempts.filter(({ request }) => !request.signal.aborted).length;
  }

  greet(heartbeatMs: number | null = HEARTBEAT_MS): void {
    this.say("connected", { sessionId: "s", channels: [], recovered: false, heartbeatMs });
  }

  say(event: string, data: unknown, id = ""): void {
    const text = typeof data === "string" ? data : JSON.stringify(data);
    this.last.listener.onActivity();
    this.last.listener.onMessage({ event, text, id });
  }
}

/** Lets promise callbacks run. Use it while timers are fake. */
export async function flush(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
}
