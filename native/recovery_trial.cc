// SPDX-License-Identifier: MIT
// Whether this process can live with what it takes up: counted in the ledger, for the next one.
#include "session_store.h"

namespace pg_gateway {

// Nothing that was kept has been touched.
void SessionStore::begin_trial() {
  unfinished_before_ = ledger_->unfinished();
  ledger_->note_unfinished(unfinished_before_ + 1);
  on_trial_.store(true);
}

// Something in there kills each process that takes it up, and nobody knows what. It ends unseen, as
// without a ledger. The ledger itself stays: by its note a server that is fenced is known to be.
void SessionStore::give_up(const StoredFds& stored, RecoveryReport& report) {
  for (const auto& [number, pair] : stored.segments) lot_.discard(number);
  const std::uint32_t unfinished = ledger_->unfinished();
  report.given_up = {ledger_->forget_sessions(), unfinished};
  ledger_->note_unfinished(0);
}

void SessionStore::recovery_came_through() {
  on_trial_.store(false);
  ledger_->note_unfinished(0);
}

void SessionStore::excuse_recovery() {
  if (on_trial_.exchange(false)) ledger_->note_unfinished(unfinished_before_);
}

}  // namespace pg_gateway
