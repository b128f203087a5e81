// SPDX-License-Identifier: MIT
// The Node-API face of the engine: conversion of values, and the way back for events.
// The arguments have been validated by src/dataplane.ts; here a wrong type throws.
//
// Owns: the engine and the thread-safe function. Thread: Node's main thread.
// This is the only part of the data plane that is compiled with exceptions.
#pragma once

#include <napi.h>

#include <cstdint>
#include <map>
#include <memory>

#include "engine.h"

namespace pg_gateway {

class EngineWrap : public Napi::ObjectWrap<EngineWrap> {
 public:
  static void define(Napi::Env env, Napi::Object exports);

  // Accepts nobody before startAccepting().
  // new Engine({ workers, ...settings, notifySocket?, stored? }, onBackendFailure, onAnswer)
  // new Engine({ asBefore, notifySocket?, stored? }, onBackendFailure, onAnswer): with the workers
  // and the patience of the earlier process
  // settings: { connectTimeoutMs, tcp: { keepalive, keepalivesIdleS, keepalivesIntervalS,
  // keepalivesCount, userTimeoutMs }, holdTimeoutMs, maxHeld, releaseRate, maxConnections,
  // maxConnectionsPerClient, maxConnectionRate, descriptors: { clients, all }, logSessions }
  // onBackendFailure({ epoch, server, error, relayed }): of several the one that says most.
  // onAnswer(number, answer): to listSessions() and killSessions(), by its number; never during the
  // call.
  // With notifySocket (the address) sessions are kept in the service manager's store; stored
  // ([{ name, fd }]) is what came back from there. Where an engine was started early
  // (early_start.h) it has taken that over, and goes on as the options say.
  explicit EngineWrap(const Napi::CallbackInfo& info);
  ~EngineWrap() override;

 private:
  // All of these throw an Error with `syscall` and `errno` where a call of the system failed.
  Napi::Value adopt(const Napi::CallbackInfo& info);   // (fd)
  Napi::Value bind(const Napi::CallbackInfo& info);    // (address, port) -> port
  Napi::Value unbind(const Napi::CallbackInfo& info);  // (port)
  Napi::Value start_accepting(const Napi::CallbackInfo& info);
  Napi::Value stop_accepting(const Napi::CallbackInfo& info);
  Napi::Value update_route(
      const Napi::CallbackInfo& info);  // (route | null, cutBelowEpoch, cutReason)
  Napi::Value configure(const Napi::CallbackInfo& info);  // (settings), all of them
  Napi::Value ping(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);
  // () -> { kept, recovered, notWhole, missing, cut, bytesInPipes, ms, problem?, note?,
  // givenUp?: { sessions, crashes } }
  Napi::Value recovery(const Napi::CallbackInfo& info);
  Napi::Value confirm_recovery(const Napi::CallbackInfo& info);
  Napi::Value excuse_recovery(const Napi::CallbackInfo& info);
  // (text, cutBelowEpoch, cutReason) -> whether it is kept
  Napi::Value write_note(const Napi::CallbackInfo& info);
  Napi::Value take_session_events(const Napi::CallbackInfo& info);
  // (number, { limit, unix?, client?, clientPort?, server?, idleMs?, port? })
  Napi::Value list_sessions(const Napi::CallbackInfo& info);
  Napi::Value kill_sessions(const Napi::CallbackInfo& info);  // (number, [id])
  // (timeoutMs, keepSessions) -> { ended: all workers did, sessionEvents: the last ones }
  Napi::Value stop(const Napi::CallbackInfo& info);

  SysError open(const Napi::Object& options);
  Engine& engine(Napi::Env env);
  void deliver_failure(Napi::Env env, Napi::Function callback);
  static void answered(void* context, std::uint32_t number);
  void deliver_answer(Napi::Env env, Napi::Function callback, std::uint32_t number);
  void release_callbacks();

  std::unique_ptr<Engine> engine_;
  Napi::ThreadSafeFunction on_failure_;
  Napi::ThreadSafeFunction on_answer_;
  // Asked and not told yet, by number. One that a worker never answers stays.
  std::map<std::uint32_t, std::shared_ptr<SessionListing>> listings_;
  std::map<std::uint32_t, std::shared_ptr<KillOrder>> kill_orders_;
};

}  // namespace pg_gateway
