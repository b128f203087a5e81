// SPDX-License-Identifier: MIT
#include "session_events_object.h"

#include <string>

#include "reason_labels.h"

namespace pg_gateway {

namespace {

const char* kind_of(const SessionEvent& event) {
  switch (event.kind) {
    case SessionEventKind::kOpened:
      return "opened";
    case SessionEventKind::kEnded:
    case SessionEventKind::kCut:
      return "closed";
    case SessionEventKind::kTurnedAway:
      return "turned_away";
  }
  return "";
}

const char* reason_of(const SessionEvent& event) {
  switch (event.kind) {
    case SessionEventKind::kOpened:
      return "";
    case SessionEventKind::kEnded:
      return kEndReasons.at(event.reason);
    case SessionEventKind::kCut:
      return kCutReasons.at(event.reason);
    case SessionEventKind::kTurnedAway:
      return kRejectReasons.at(event.reason);
  }
  return "";
}

Napi::Object event_object(Napi::Env env, const SessionEvent& event) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("kind", kind_of(event));
  out.Set("reason", reason_of(event));
  out.Set("clientAddress", event.client.text());
  out.Set("clientPort", static_cast<double>(event.client.port));
  out.Set("server", static_cast<double>(event.server));
  out.Set("sourcePort", static_cast<double>(event.source_port));
  out.Set("seconds", static_cast<double>(event.duration_ns) / 1e9);
  out.Set("bytesClientToBackend", static_cast<double>(event.bytes_up));
  out.Set("bytesBackendToClient", static_cast<double>(event.bytes_down));
  return out;
}

}  // namespace

Napi::Object session_events_object(Napi::Env env, const SessionEvents& events) {
  Napi::Array list = Napi::Array::New(env, events.events.size());
  std::uint32_t at = 0;
  for (const SessionEvent& event : events.events) list.Set(at++, event_object(env, event));
  Napi::Object out = Napi::Object::New(env);
  out.Set("events", list);
  out.Set("lost", static_cast<double>(events.lost));
  return out;
}

}  // namespace pg_gateway
