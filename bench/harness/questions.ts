import type { ChildProcess } from "node:child_process";

/** Asks a script over IPC; it answers each question with the id that came with it. Rejects when it ends. */
export function createQuestions(
  child: ChildProcess,
  name: string,
): (question: string, shape?: unknown) => Promise<unknown> {
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  let asked = 0;
  child.on("message", (message) => {
    const { id, value } = message as { id: number; value: unknown };
    waiting.get(id)?.resolve(value);
    waiting.delete(id);
  });
  child.once("exit", (code, signal) => {
    for (const { reject } of waiting.values()) reject(new Error(`${name} ended with ${code ?? signal}`));
  });
  return (question, shape) =>
    new Promise((resolve, reject) => {
      const id = ++asked;
      waiting.set(id, { resolve, reject });
      child.send({ id, question, shape });
    });
}
