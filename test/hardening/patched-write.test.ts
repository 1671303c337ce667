import { execFile } from "node:child_process";
import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { expect } from "chai";

import { isWrittenByNode } from "../../middleware/native-write.js";

const APP = fileURLToPath(new URL("patched-write-app.js", import.meta.url));
const TEXT = "data: 1\n\ndata: 2\n\n";

async function run(target: string, when: string): Promise<{ seen: string; got: string }> {
  const { stdout } = await promisify(execFile)(process.execPath, [APP, target, when], { timeout: 15_000 });
  return JSON.parse(stdout) as { seen: string; got: string };
}

describe("a process in which all responses are observed", () => {
  for (const target of ["ServerResponse", "OutgoingMessage"]) {
    for (const when of ["before", "after"]) {
      it(`by ${target}.prototype.write, patched ${when} this is loaded: nothing is written past it`, async () => {
        expect(await run(target, when)).to.deep.equal({ seen: TEXT, got: TEXT });
      });
    }
  }

  it("gets the same where nothing is", async () => {
    expect(await run("none", "before")).to.deep.equal({ seen: "", got: TEXT });
  });

  for (const name of ["write", "end"] as const) {
    it(`is told by a prototype that has ${name}, be it the same`, () => {
      const res = new ServerResponse(new IncomingMessage(new Socket()));
      expect(isWrittenByNode(res)).to.equal(true);
      Object.assign(ServerResponse.prototype, { [name]: res[name] });
      try {
        expect(isWrittenByNode(res)).to.equal(false);
      } finally {
        Reflect.deleteProperty(ServerResponse.prototype, name);
      }
    });
  }
});
