/**
 * @typedef {object} Declaration A local variable, a parameter or a local function.
 * @property {string} name
 * @property {any} node Its identifier.
 * @property {any} statement The statement that declares it.
 * @property {number} reads Reads of the name. A function's calls of itself do not count.
 * @property {number} writes Assignments after the declaration.
 * @property {boolean} isTwice Whether the same block has already declared the name.
 *
 * @typedef {object} Names
 * @property {Declaration[]} declarations
 * @property {{ name: string, node: any, isWritten: boolean }[]} globals
 */

/**
 * Finds the declaration of each name in a chunk.
 *
 * @param {any} chunk As `luaparse` returns it.
 * @returns {Names}
 */
export function resolveNames(chunk) {
  /** @type {Declaration[]} */
  const declarations = [];
  /** @type {Names["globals"]} */
  const globals = [];
  /** @type {Map<string, Declaration>[]} */
  const scopes = [];
  /** The functions around the current node. @type {any[]} */
  const functions = [];

  function declare(node, statement) {
    const scope = scopes.at(-1);
    const isTwice = scope.has(node.name);
    const declaration = { name: node.name, node, statement, reads: 0, writes: 0, isTwice };
    scope.set(node.name, declaration);
    declarations.push(declaration);
  }

  function use(node, isWritten) {
    const declaration = scopes.findLast((scope) => scope.has(node.name))?.get(node.name);
    if (declaration === undefined) globals.push({ name: node.name, node, isWritten });
    else if (isWritten) declaration.writes++;
    else if (!functions.includes(declaration.statement)) declaration.reads++;
  }

  function within(body) {
    scopes.push(new Map());
    body();
    scopes.pop();
  }

  const visitAll = (nodes) => nodes.forEach(visit);

  /** For a node type that is not listed here, `visit()` visits all children. */
  const VISITORS = {
    Identifier: (node) => use(node, false),
    MemberExpression: (node) => visit(node.base),
    TableKeyString: (node) => visit(node.value),
    LocalStatement(node) {
      visitAll(node.init);
      for (const variable of node.variables) declare(variable, node);
    },
    AssignmentStatement(node) {
      visitAll(node.init);
      for (const variable of node.variables) {
        if (variable.type === "Identifier") use(variable, true);
        else visit(variable);
      }
    },
    FunctionDeclaration(node) {
      if (node.isLocal) declare(node.identifier, node);
      else if (node.identifier?.type === "Identifier") use(node.identifier, true);
      else if (node.identifier !== null) visit(node.identifier);
      functions.push(node);
      within(() => {
        for (const parameter of node.parameters) {
          if (parameter.type === "Identifier") declare(parameter, node);
        }
        visitAll(node.body);
      });
      functions.pop();
    },
    ForNumericStatement(node) {
      visitAll([node.start, node.end, ...(node.step === null ? [] : [node.step])]);
      within(() => {
        declare(node.variable, node);
        visitAll(node.body);
      });
    },
    ForGenericStatement(node) {
      visitAll(node.iterators);
      within(() => {
        for (const variable of node.variables) declare(variable, node);
        visitAll(node.body);
      });
    },
    WhileStatement(node) {
      visit(node.condition);
      within(() => visitAll(node.body));
    },
    RepeatStatement: (node) => within(() => visitAll([...node.body, node.condition])),
    DoStatement: (node) => within(() => visitAll(node.body)),
    IfClause: visitClause,
    ElseifClause: visitClause,
    ElseClause: visitClause,
    Chunk: (node) => within(() => visitAll(node.body)),
  };

  function visitClause(node) {
    if (node.condition !== undefined) visit(node.condition);
    within(() => visitAll(node.body));
  }

  function visit(node) {
    const visitor = VISITORS[node.type];
    if (visitor !== undefined) return void visitor(node);
    for (const child of Object.values(node).flat()) {
      if (typeof child?.type === "string") visit(child);
    }
  }

  visit(chunk);
  return { declarations, globals };
}
