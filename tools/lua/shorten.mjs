import luaparse from "luaparse";

import { resolveNames } from "./names.mjs";

/**
 * Removes comments, blank lines, and local functions and variables that are never used. Lua creates each function of a script
 * again in every call. For a script that moves one task, this would be half of the cost.
 *
 * @param {string} source A script that has passed the check.
 */
export function shorten(source) {
  const chunk = luaparse.parse(source, { luaVersion: "5.1", ranges: true });
  const unused = unusedStatements(resolveNames(chunk));
  if (unused.length > 0) return shorten(without(source, unused));
  return without(source, chunk.comments)
    .split("\n")
    .map((line) => line.trimEnd())
    .filter((line) => line !== "")
    .join("\n");
}

/** @param {string} source @param {readonly { range: [number, number] }[]} nodes */
function without(source, nodes) {
  let rest = "";
  let position = 0;
  for (const { range } of nodes.toSorted((a, b) => a.range[0] - b.range[0])) {
    // This node is inside a node that was already removed.
    if (range[0] < position) continue;
    rest += source.slice(position, range[0]);
    position = range[1];
  }
  return rest + source.slice(position);
}

/** @param {import("./names.mjs").Names} names */
function unusedStatements({ declarations }) {
  const used = new Set(
    declarations.filter(({ reads, writes }) => reads + writes > 0).map(({ node }) => node),
  );
  const statements = new Set(declarations.map(({ statement }) => statement));
  return [...statements].filter(
    (statement) =>
      (statement.type === "FunctionDeclaration" && statement.isLocal && !used.has(statement.identifier)) ||
      (statement.type === "LocalStatement" &&
        statement.variables.every((variable) => !used.has(variable)) &&
        statement.init.every(isConstant)),
  );
}

function isConstant({ type, fields }) {
  return type === "TableConstructorExpression" ? fields.length === 0 : type.endsWith("Literal");
}
