import { messageOf, setRedisAway } from "./api.js";
import { showConnection } from "./connection-pill.js";
import { createDeadLetters } from "./dead-letters.js";
import { byId } from "./dom.js";
import { asNotification, createBell } from "./notifications.js";
import { showRedis, startPoolPanel } from "./pool-panel.js";
import { showCounts } from "./queue-counts.js";
import { createSendForm } from "./send-form.js";
import { openStream, readable, type Connection, type StreamHandlers } from "./stream.js";
import { createTaskForm } from "./task-form.js";
import { createTaskList } from "./task-list.js";
import { asProgress } from "./task-model.js";
import { createTasks, type Tasks } from "./tasks.js";
import { asObject } from "./json.js";
import { toast } from "./toasts.js";
import { currentUser, isUserName, otherUser, showUser, USER_NAME_RULE } from "./user.js";

const user = currentUser();
showUser(user);
byId("send-hint-name", HTMLElement).textContent = otherUser(user);

const bell = createBell(user);
const deadLetters = createDeadLetters();
const tasks: Tasks = createTasks(
  createTaskList({
    cancel: (id) =>
      tasks
        .cancel(id)
        .catch((error: unknown) => toast("fault", "The task was not cancelled", messageOf(error))),
    replayOutput: (id) => tasks.replayOutput(id),
  }),
);
let failures = "";
createSendForm(user);
createTaskForm(tasks);
const refreshPool = startPoolPanel();
void showRedis();

/** Loads everything again, because events can be missing. */
function catchUp(): void {
  loadNotifications();
  tasks.refresh();
  deadLetters.load();
}

/** Call this after the stream is open. Otherwise notifications between the two would be missing. */
function loadNotifications(): void {
  bell
    .load()
    .catch(() => toast("fault", "Notifications could not be loaded", "Reload the page to try again."));
}

let connection: Connection = { state: "connecting" };
let isRedisAway = false;

/** The stream stays open if Redis is unavailable, but then it gets no events. */
function showState(): void {
  setRedisAway(isRedisAway);
  const isStale = connection.state === "live" && isRedisAway;
  showConnection(isStale ? { state: "reconnecting", reason: readable("redis-lost") } : connection);
}

const handlers: StreamHandlers = {
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
    // A restarted server can use another Redis server.
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
    // A status has no message. A request for the notifications fails with the same error and shows its message.
    bell.load().catch((error: unknown) => toast("fault", "The server rejected the stream", messageOf(error)));
  },
};

if (isUserName(user)) {
  openStream(`/api/notifications/stream?user=${encodeURIComponent(user)}`, handlers);
} else {
  showConnection({ state: "stopped", reason: "invalid user name" });
  toast("fault", `Invalid user name "${user}"`, USER_NAME_RULE);
}
