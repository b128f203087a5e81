// SPDX-License-Identifier: MIT
#include "mailbox.h"

#include <sys/eventfd.h>

#include <cerrno>
#include <utility>

namespace pg_gateway {

SysError Mailbox::open() {
  Result<UniqueFd> made = make_eventfd();
  if (!made.ok()) return made.error();
  wake_ = made.take();
  return {};
}

void Mailbox::post(Message message) {
  bool was_empty = false;
  {
    const std::lock_guard lock(mutex_);
    was_empty = queue_.empty();
    queue_.push_back(std::move(message));
  }
  // The counter cannot overflow: it is read back to zero before the queue is emptied.
  // If this were lost, so would be all that is posted later: the queue is not empty any more.
  while (was_empty && ::eventfd_write(wake_.get(), 1) != 0 && errno == EINTR) continue;
}

std::vector<Message> Mailbox::take() {
  eventfd_t ignored = 0;
  ::eventfd_read(wake_.get(), &ignored);
  std::vector<Message> messages;
  const std::lock_guard lock(mutex_);
  messages.swap(queue_);
  return messages;
}

}  // namespace pg_gateway
