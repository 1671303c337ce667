import { fileURLToPath } from "node:url";

import express from "express";
import { createRedisSse } from "redis-sse";
import { sseStream } from "redis-sse/express";

const sse = createRedisSse();
const app = express();
app.use(express.static("public"));
// A page without a bundler loads the client from the package.
const client = new URL(".", import.meta.resolve("redis-sse/client"));
app.use("/redis-sse", express.static(fileURLToPath(client)));

const orders = []; // your database

app.get("/orders", async (req, res) => {
  const lastEventId = await sse.lastEventId("orders"); // before you read the state
  res.json({ orders, lastEventId: lastEventId ?? "" });
});
app.post("/orders", async (req, res) => {
  const order = { id: orders.length + 1, total: Math.ceil(Math.random() * 100) };
  orders.push(order);
  await sse.publish("orders", { event: "order", data: order });
  res.status(201).json(order);
});
app.get(
  "/orders/events",
  sseStream(() => "orders", { service: sse }),
);

app.listen(process.env.PORT ?? 3000);
