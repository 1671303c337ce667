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

  describe("is told from one in which none is", () => {
    let res: ServerResponse;

    beforeEach(() => {
      res = new ServerResponse(new IncomingMessage(new Socket()));
    });

    afterEach(() => {
      for (const name of ["write", "end"] as const) Reflect.deleteProperty(ServerResponse.prototype, name);
    });

    it("by nothing, on this version of Node: its own is taken for its own", () => {
      expect(isWrittenByNode(res)).to.equal(true);
    });

    for (const name of ["write", "end"] as const) {
      it(`by a prototype that has ${name}, be it the same`, () => {
        Object.assign(ServerResponse.prototype, { [name]: res[name] });
        expect(isWrittenByNode(res)).to.equal(false);
      });
    }

    it("by a response that has its own", () => {
      res.write = res.write.bind(res);
      expect(isWrittenByNode(res)).to.equal(false);
    });
  });
});
