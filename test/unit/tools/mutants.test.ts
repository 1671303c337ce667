import { expect } from "chai";
import { readFileSync, readdirSync, existsSync } from "node:fs";

interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  readonly suites: readonly string[];
}

describe("test/mutants", () => {
  for (const list of readdirSync("test/mutants")) {
    it(`contains only mutants that can be applied: ${list}`, () => {
      const mutants = JSON.parse(readFileSync(`test/mutants/${list}`, "utf8")) as Mutant[];
      for (const { name, file, find, replace, suites } of mutants) {
        expect(readFileSync(file, "utf8").split(find), `${name}: "find" in ${file}`).to.have.length(2);
        expect(replace, name).to.not.equal(find);
        expect(suites.length, name).to.be.greaterThan(0);
        for (const suite of suites) expect(existsSync(suite), suite).to.equal(true);
      }
    });
  }
});
