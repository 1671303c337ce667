import { expect } from "chai";

import type { CredentialRequest, StreamUrl } from "../../../client/index.js";
import { createFollowStore } from "../../../react/follow-stream.js";
import { latestFunctionOf, type StreamFollowOptions } from "../../../react/stream-options.js";
import { textReducer } from "../../../react/use-text-stream.js";
import { eventually } from "../../support/eventually.js";

describe("the URL function of a hook", () => {
  it("calls the newest function for each connection, with the request", async () => {
    const asked: string[] = [];
    const opened: string[] = [];
    const urlOf =
      (version: string): StreamUrl =>
      ({ isRefused }: CredentialRequest) => {
        asked.push(`${version} ${isRefused}`);
        return Promise.resolve(`http://localhost/${version}`);
      };
    const latest = { current: urlOf("first") };
    const answers = [new Response(null, { status: 401 }), new Response(null, { status: 204 })];
    const options: StreamFollowOptions = {
      fetch: (url) => {
        opened.push(url as string);
        latest.current = urlOf("second");
        return Promise.resolve(answers[opened.length - 1]!);
      },
    };

    const store = createFollowStore(latestFunctionOf(latest), { current: options }, textReducer);
    const unsubscribe = store.subscribe(() => {});
    try {
      await eventually(() => expect(store.getSnapshot().status).to.include({ reason: "completed" }));
    } finally {
      unsubscribe();
    }
    expect(asked).to.deep.equal(["first false", "second true"]);
    expect(opened).to.deep.equal(["http://localhost/first", "http://localhost/second"]);
  });

  it("fails if the hook no longer uses a URL function", () => {
    const callLatest = latestFunctionOf({ current: "/events" });
    expect(() => callLatest({ isRefused: false })).to.throw("no longer uses a URL function");
  });
});
