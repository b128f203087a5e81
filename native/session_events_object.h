// SPDX-License-Identifier: MIT
// What the workers recorded of their sessions as a JavaScript object: the SessionEvents of
// src/session-log.ts. Thread: Node's main thread.
#pragma once

#include <napi.h>

#include "session_log.h"

namespace pg_gateway {

Napi::Object session_events_object(Napi::Env env, const SessionEvents& events);

}  // namespace pg_gateway
