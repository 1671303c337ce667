import { messageOf, setRedisAway } from "./api.js";
import { showConnection } from "./connection-pill.js";
import { createDeadLetters } from "./dead-letters.js";
import { byId } from "./dom.js";
import { asNotification, createBell } from "./notifications.js";
import { showRedis, startPoolPanel } from "./pool-panel.js";
import { showCounts } from "./queue-counts.js";
import { createSendForm } from "./send-form.js";
import { openStream, readable, type Connection } from "./stream.js";
import { createTaskForm } from "./task-form.js";
import { createTaskList } from "./task-list.js";
import { asProgress } from "./task-model.js";
import { createTasks, type Tasks } from "./tasks.js";
import { asObject } from "./json.js";
import { toast } from "./toasts.js";
import { currentUser, showUser, somebodyElse } from "./user.js";

const user = currentUser();
showUser(user);
byId("send-hint-name", HTMLElement).textContent = somebodyElse(user);

const bell = createBell(user);
const deadLetters = createDeadLetters();
const tasks: Tasks = createTasks(
  createTaskList({
    cancel: (id) =>
      tasks.cancel(id).catch((error: unknown) => toast("fault", "Not cancelled", messageOf(error))),
    tellOutput: (id) => tasks.tellOutput(id),
  }),
);
let failures = "";
createSendForm(user);
createTaskForm(tasks);
const refreshPool = startPoolPanel();
void showRedis();

/** Some events may be lost. */
function catchUp(): void {
  loadNotifications();
  tasks.refresh();
  deadLetters.load();
}

/** The list is asked for after the stream is open, not before, so that nothing falls between the two. */
function loadNotifications(): void {
  bell.load().catch(() => toast("fault", "The list of notifications could not be loaded", ""));
}

let connection: Connection = { state: "connecting" };
let isRedisAway = false;

/** The stream stays open while the server waits for Redis. Nothing new comes then. */
function showState(): void {
  setRedisAway(isRedisAway);
  const isDeaf = connection.state === "live" && isRedisAway;
  showConnection(isDeaf ? { state: "reconnecting", reason: readable("redis-lost") } : connection);
}

openStream(`/api/notifications/stream?user=${encodeURIComponent(user)}`, {
  connection(current) {
    connection = current;
    isRedisAway = false;
    showState();
    if (connection.state !== "live") tasks.disconnected();
  },
  connected(sessionId) {
    tasks.connected(sessionId);
    deadLetters.load();
    loadNotifications();
    refreshPool();
    // After a restart it may be another one.
    void showRedis();
  },
  message(data) {
    const progress = asProgress(data);
    if (progress !== undefined) {
      tasks.progressed(progress);
      return;
    }
    const notification = asNotification(data);
    if (notification !== undefined) bell.arrived(notification);
  },
  events: {
    task: (data) => tasks.appeared(data),
    "tasks-changed"() {
      tasks.refresh();
      deadLetters.load();
    },
    chunk: (data) => tasks.wrote("chunk", data),
    log: (data) => tasks.wrote("log", data),
    redis(data) {
      const wasAway = isRedisAway;
      isRedisAway = asObject(data)?.["connected"] === false;
      showState();
      if (wasAway && !isRedisAway) catchUp();
    },
    queue(data) {
      const before = failures;
      failures = showCounts(data);
      if (failures !== before) deadLetters.load();
    },
  },
  gap: catchUp,
  refused() {
    // The same user's list is refused for the same reason, and its answer can be read.
    bell.load().catch((error: unknown) => toast("fault", "The stream was refused", messageOf(error)));
  },
  fault(message) {
    toast("fault", "The server reports a fault", message);
  },
});
