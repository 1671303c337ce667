import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import express from "express";
import { createRedisSse } from "redis-sse";
import { sseStream } from "redis-sse/express";

const sse = createRedisSse();
const app = express();
app.use(express.static("public"));
const client = new URL(".", import.meta.resolve("redis-sse/client"));
app.use("/redis-sse", express.static(fileURLToPath(client)));

// Your login. This example trusts `?user=`, and its tokens are valid for a minute.
const users = new Map();
app.post("/token", (req, res) => {
  const token = randomUUID();
  users.set(token, req.query.user);
  setTimeout(() => users.delete(token), 60_000);
  res.json({ token });
});

app.use("/answers", (req, res, next) => {
  const user = users.get(req.get("Authorization")?.replace("Bearer ", ""));
  if (user === undefined) return res.sendStatus(401);
  res.locals.user = user;
  next();
});
app.post("/answers", express.text(), async (req, res) => {
  const id = randomUUID();
  // The name includes the user, so that nobody can read the answers of another user.
  const writer = await sse.writer(`answer:${res.locals.user}:${id}`);
  res.status(202).json({ id });
  try {
    for await (const word of model(req.body)) await writer.write(word);
    await writer.end();
  } catch (error) {
    console.error(error);
    await writer.abort();
  }
});
app.get(
  "/answers/:id/events",
  sseStream((req) => `answer:${req.res.locals.user}:${req.params.id}`, { service: sse }),
);

/** Your language model. */
async function* model(question) {
  for (const word of ["You ", "asked: ", question]) {
    await pause(200);
    yield word;
  }
}

app.listen(process.env.PORT ?? 3000);
