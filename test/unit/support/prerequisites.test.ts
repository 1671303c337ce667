import { relative } from "node:path";

import { expect } from "chai";

import { find } from "../../support/prerequisites.js";

describe("find()", () => {
  const { REDIS_SERVER, PATH } = process.env;

  afterEach(() => {
    for (const [name, value] of Object.entries({ REDIS_SERVER, PATH })) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  });

  it("returns the absolute path of REDIS_SERVER", async () => {
    process.env["REDIS_SERVER"] = process.execPath;
    expect(await find("redis")).to.equal(process.execPath);
    process.env["REDIS_SERVER"] = relative(process.cwd(), process.execPath);
    expect(await find("redis")).to.equal(process.execPath);
  });

  it("throws if REDIS_SERVER is not a program", async () => {
    process.env["REDIS_SERVER"] = "/nowhere/redis-server";
    const error: unknown = await find("redis").catch((reason: unknown) => reason);
    expect(String(error)).to.equal(
      "Error: REDIS_SERVER is not a program that can be run: /nowhere/redis-server",
    );
  });

  it("searches the PATH if REDIS_SERVER is not set", async () => {
    process.env["REDIS_SERVER"] = "";
    process.env["PATH"] = "/nowhere";
    expect(await find("redis")).to.equal(null);
  });
});
