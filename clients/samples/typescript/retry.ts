// Repeats calls that failed, when it is safe and when they can succeed later.
import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError, type CallOptions } from "@connectrpc/connect";
import { RetryInfoSchema } from "./generated/google/rpc/error_details_pb.js";

const callMs = 30_000;
const giveUpMs = 60_000;

/** The milliseconds that the server asks the client to wait (RetryInfo), if it does. */
function retryDelayMs(error: ConnectError): number | undefined {
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6;
}

/** Whether the same call can succeed later. It does not say whether this call had an effect. */
function maySucceedLater(error: ConnectError): boolean {
  if (retryDelayMs(error) !== undefined) return true;
  // Connect reports a broken connection as Aborted, Canceled, Internal or Unknown. It marks errors
  // that the server sent.
  if (!error.isWireError) return true;
  return error.code === Code.Unavailable || error.code === Code.DeadlineExceeded;
}

/** Waits between attempts: as long as RetryInfo says, else longer each time, with jitter. */
export class Backoff {
  #giveUp = Date.now() + giveUpMs;
  #pauseMs = 100;

  /** Returns when it is time for the next attempt. Throws `reason` if there is to be none. */
  async wait(reason: unknown): Promise<void> {
    if (!(reason instanceof ConnectError)) throw reason;
    const pauseMs = (retryDelayMs(reason) || this.#pauseMs) * (1 + Math.random() / 2);
    if (!maySucceedLater(reason) || Date.now() + pauseMs > this.#giveUp) throw reason;
    this.#pauseMs = Math.min(this.#pauseMs * 2, 5000);
    await sleep(pauseMs);
  }
}

/**
 * The answer of a unary call, which is repeated if it fails for a reason that can pass.
 *
 * A call that failed can have had its effect. So pass only a request that may be repeated: a read,
 * or a write with a `request_id`, which stays the same in each attempt.
 */
export async function call<Request, Response>(
  method: (request: Request, options: CallOptions) => Promise<Response>,
  request: Request,
): Promise<Response> {
  const backoff = new Backoff();
  for (;;) {
    try {
      return await method(request, { timeoutMs: callMs });
    } catch (error) {
      await backoff.wait(error);
    }
  }
}
