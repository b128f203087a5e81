// SPDX-License-Identifier: MIT
#include "parking_lot.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

namespace pg_gateway {

namespace {

constexpr std::size_t kControlBytes = CMSG_SPACE(sizeof(int) * kMaxParkedFds);
// A living copy is moved only for the sake of so many dead ones behind it.
constexpr std::uint32_t kMinDead = 16;
// How many are moved at one session's end, while others wait for the lock.
constexpr int kMaxMoves = 8;
// More than any queue holds: a hostile one must not keep us for ever.
constexpr std::size_t kMaxMessages = 1u << 16;
constexpr unsigned kNumberShift = 40;
// A store that refuses is asked again after a pause: each try is some messages to the manager, and
// others wait for the lock. The first refusal may have been by chance. From 10 ms to 1.28 s.
constexpr unsigned kPatientRefusals = 1;
constexpr std::int64_t kFirstPauseNs = 10'000'000;
constexpr unsigned kMostDoubled = 7;

// Where peeking goes on; it stays with the socket from process to process (socket(7)). -1: always
// at the first message. Where it is not set, a message is taken for another.
SysError set_peek_offset(int fd, int offset) {
  int set = 0;
  do {
    set = ::setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset);
  } while (set < 0 && errno == EINTR);
  return set < 0 ? SysError::last("setsockopt") : SysError{};
}

struct Peeked {
  bool any = false;  // there was a message
  int error = 0;     // why there was none, or not all of it; EAGAIN: it was the last
  bool ours = false;
  ParkedMessage message;
  std::array<UniqueFd, kMaxParkedFds> fds;
  std::size_t count = 0;
  std::size_t bytes = 0;  // all that there are of it
};

bool is_ours(const Peeked& peeked, int flags) {
  if (peeked.bytes != sizeof(ParkedMessage) || (flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
    return false;
  if (peeked.message.version != Ledger::kVersion) return false;
  switch (peeked.message.kind) {
    case ParkedKind::kSession:
      return peeked.count >= 1;
    case ParkedKind::kPipe:
      return peeked.count == 2;
    case ParkedKind::kNone:
      break;
  }
  return false;
}

// One of ours that has come without all of its descriptors (recvmsg(2), MSG_CTRUNC).
bool is_cut_short(const Peeked& peeked, int flags) {
  return (flags & (MSG_TRUNC | MSG_CTRUNC)) == MSG_CTRUNC &&
         peeked.bytes == sizeof(ParkedMessage) && peeked.message.version == Ledger::kVersion &&
         peeked.message.kind != ParkedKind::kNone && peeked.count < kMaxParkedFds;
}

Peeked peek(int fd) {
  Peeked peeked;
  iovec data{&peeked.message, sizeof peeked.message};
  alignas(cmsghdr) std::array<char, kControlBytes> control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t got = 0;
  do {
    got = ::recvmsg(fd, &message, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    peeked.error = errno;
    return peeked;
  }
  peeked.any = true;
  peeked.bytes = static_cast<std::size_t>(got);
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int received = -1;
      std::memcpy(&received, CMSG_DATA(header) + i * sizeof(int), sizeof received);
      UniqueFd owned(received);
      if (peeked.count < kMaxParkedFds) peeked.fds[peeked.count++] = std::move(owned);
    }
  }
  peeked.ours = is_ours(peeked, message.msg_flags);
  // Not strange: there are no descriptors left to be had. It is in the queue still, whole.
  if (is_cut_short(peeked, message.msg_flags) && next_descriptor(fd) == INT_MAX) {
    peeked.error = EMFILE;
  }
  return peeked;
}

constexpr SysError kNoEnd{"parking lot", EBADMSG};

// No error if it is; kNoEnd if it is not; else why that could not be told.
SysError check_end_of_pair(int fd) {
  int domain = 0;
  int type = 0;
  socklen_t length = sizeof domain;
  if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) {
    return errno == EBADF || errno == ENOTSOCK ? kNoEnd : SysError::last("getsockopt");
  }
  length = sizeof type;
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) {
    return SysError::last("getsockopt");
  }
  if (domain != AF_UNIX || type != SOCK_SEQPACKET) return kNoEnd;
  pollfd state{fd, POLLRDHUP, 0};
  int ready = 0;
  do {
    ready = ::poll(&state, 1, 0);
  } while (ready < 0 && errno == EINTR);
  if (ready < 0) return SysError::last("poll");
  // Nothing would ever come out of one that is shut, and that without end.
  return ready == 0 ? SysError{} : kNoEnd;
}

std::string name_of(std::uint32_t number, const char* suffix) {
  return ParkingLot::kPrefix + std::to_string(number) + suffix;
}

}  // namespace

ParkingTicket ParkingLot::new_ticket(const Segment& segment) {
  return ParkingTicket{segment.number} << kNumberShift | next_serial_++;
}

Result<ParkingTicket> ParkingLot::append(Segment& segment, const ParkedMessage& message,
                                         const int* fds, std::size_t count) {
  ParkedMessage copy = message;
  iovec data{&copy, sizeof copy};
  alignas(cmsghdr) std::array<char, kControlBytes> control{};
  msghdr envelope{};
  envelope.msg_iov = &data;
  envelope.msg_iovlen = 1;
  envelope.msg_control = control.data();
  envelope.msg_controllen = CMSG_SPACE(sizeof(int) * count);
  cmsghdr* header = CMSG_FIRSTHDR(&envelope);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int) * count);
  std::memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(segment.in.get(), &envelope, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return SysError::last("sendmsg");
  const ParkingTicket ticket = new_ticket(segment);
  segment.entries.push_back({ticket, message.slot, message.kind});
  return ticket;
}

Result<ParkingTicket> ParkingLot::park(const ParkedMessage& message, const int* fds,
                                       std::size_t count) {
  for (;;) {
    for (const std::unique_ptr<Segment>& segment : segments_) {
      if (segment->full) continue;
      Result<ParkingTicket> ticket = append(*segment, message, fds, count);
      if (ticket.ok()) return ticket;
      const int code = ticket.error().code;
      // Full; or no pair, which only somebody else can have brought about.
      if (code != EAGAIN && code != EPIPE && code != ECONNRESET && code != ENOTCONN) return ticket;
      segment->full = true;
    }
    if (monotonic_ns() < retry_ns_) return refused_;
    if (SysError error = add_segment()) return error;
  }
}

bool ParkingLot::pauses() const {
  return monotonic_ns() < retry_ns_ &&
         std::all_of(segments_.begin(), segments_.end(),
                     [](const auto& segment) { return segment->full; });
}

void ParkingLot::refused(const SysError& error) {
  refused_ = error;
  if (++refusals_ <= kPatientRefusals) return;
  const unsigned doubled = std::min(refusals_ - kPatientRefusals - 1, kMostDoubled);
  retry_ns_ = monotonic_ns() + (kFirstPauseNs << doubled);
}

std::uint32_t ParkingLot::free_number() const {
  const auto taken = [this](std::uint32_t number) {
    return std::any_of(segments_.begin(), segments_.end(),
                       [=](const auto& segment) { return segment->number == number; });
  };
  std::uint32_t number = next_number_ > kMaxNumber ? 0 : next_number_;
  while (taken(number)) number = number == kMaxNumber ? 0 : number + 1;
  return number;
}

SysError ParkingLot::add_segment() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return SysError::last("socketpair");
  }
  auto segment = std::make_unique<Segment>();
  segment->number = free_number();
  segment->in.reset(ends[0]);
  segment->out.reset(ends[1]);
  ::setsockopt(segment->in.get(), SOL_SOCKET, SO_SNDBUF, &send_buffer_, sizeof send_buffer_);
  // A segment that is not kept would keep nothing. With one end only, nothing either.
  for (const auto& [suffix, fd] :
       {std::pair{kInSuffix, segment->in.get()}, std::pair{kOutSuffix, segment->out.get()}}) {
    if (SysError error = store_->keep(name_of(segment->number, suffix), fd)) {
      discard(segment->number);  // its other end would be taken for the next one's
      refused(error);
      return error;
    }
  }
  refusals_ = 0;
  next_number_ = segment->number + 1;
  segments_.push_back(std::move(segment));
  return {};
}

bool ParkingLot::drop_first(Segment& segment) {
  char byte = 0;
  ssize_t got = 0;
  do {
    // Without room for them the descriptors are closed (unix(7)).
    got = ::recv(segment.out.get(), &byte, sizeof byte, MSG_DONTWAIT | MSG_TRUNC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return false;
  segment.entries.pop_front();
  segment.full = false;
  return true;
}

bool ParkingLot::move_first(Segment& segment, Residents& residents) {
  const Entry entry = segment.entries.front();
  Peeked first = peek(segment.out.get());
  if (!first.ours) return false;  // out of descriptors: the next death tries again
  if (first.message.kind != entry.kind || first.message.slot != entry.slot) return false;
  std::array<int, kMaxParkedFds> fds{};
  for (std::size_t i = 0; i < first.count; ++i) fds[i] = first.fds[i].get();
  Result<ParkingTicket> ticket = park(first.message, fds.data(), first.count);
  if (!ticket.ok()) return false;
  residents.moved(entry.kind, entry.slot, ticket.value());
  if (drop_first(segment)) return true;
  ++segment.dead;  // its copy is the one that counts
  return false;
}

bool ParkingLot::tidy(Segment& segment, Residents& residents) {
  for (int moves = 0; !segment.entries.empty();) {
    const Entry& first = segment.entries.front();
    // However many they are: the next death in this segment may be far away, or never come.
    if (!residents.lives(first.kind, first.slot, first.ticket)) {
      if (!drop_first(segment)) return false;
      --segment.dead;
      continue;
    }
    const bool worth_it =
        segment.strange ? segment.dead > 0
                        : segment.dead >= kMinDead && 2 * segment.dead > segment.entries.size();
    if (!worth_it) return false;
    if (moves++ == kMaxMoves) return true;
    if (!move_first(segment, residents)) return false;
  }
  return false;
}

void ParkingLot::died(ParkingTicket ticket, Residents& residents) {
  for (const std::unique_ptr<Segment>& segment : segments_) {
    if (segment->number != ticket >> kNumberShift) continue;
    ++segment->dead;
    tidy(*segment, residents);
    break;
  }
  remove_surplus();
}

// One empty segment is enough for what comes.
void ParkingLot::remove_surplus() {
  std::size_t empty = 0;
  std::erase_if(segments_, [&](const std::unique_ptr<Segment>& segment) {
    if (!segment->entries.empty() || ++empty == 1) return false;
    discard(segment->number);
    return true;
  });
}

void ParkingLot::discard(std::uint32_t number) {
  next_number_ = std::max(next_number_, number + 1);
  store_->drop(name_of(number, kInSuffix));
  store_->drop(name_of(number, kOutSuffix));
}

SysError ParkingLot::adopt(std::uint32_t number, UniqueFd in, UniqueFd out, const Visit& visit) {
  SysError error = check_end_of_pair(in.get());
  if (!error) error = check_end_of_pair(out.get());
  if (error) {
    if (error.code == kNoEnd.code) discard(number);
    return error;
  }
  ::fcntl(in.get(), F_SETFD, FD_CLOEXEC);
  ::fcntl(out.get(), F_SETFD, FD_CLOEXEC);
  next_number_ = std::max(next_number_, number + 1);
  auto segment = std::make_unique<Segment>();
  segment->number = number;
  segment->in = std::move(in);
  segment->out = std::move(out);
  if (SysError failed = set_peek_offset(segment->out.get(), 0)) return failed;
  std::size_t offset = 0;
  for (std::size_t i = 0; i < kMaxMessages; ++i) {
    Peeked next = peek(segment->out.get());
    if (next.error != 0 && next.error != EAGAIN) return {"recvmsg", next.error};
    if (!next.any) break;
    offset += next.bytes;
    if (!next.ours) {
      segment->entries.push_back({});
      segment->strange = true;
      // The kernel would show the rest of a longer message as the next one.
      if (SysError failed = set_peek_offset(segment->out.get(), static_cast<int>(offset))) {
        return failed;
      }
      continue;
    }
    const ParkingTicket ticket = new_ticket(*segment);
    segment->entries.push_back({ticket, next.message.slot, next.message.kind});
    visit(next.message, ticket, std::move(next.fds));
  }
  if (SysError failed = set_peek_offset(segment->out.get(), -1)) return failed;
  segments_.push_back(std::move(segment));
  return {};
}

std::map<std::uint32_t, std::pair<UniqueFd, UniqueFd>> ParkingLot::release() {
  std::map<std::uint32_t, std::pair<UniqueFd, UniqueFd>> released;
  for (const std::unique_ptr<Segment>& segment : segments_) {
    released[segment->number] = {std::move(segment->in), std::move(segment->out)};
  }
  segments_.clear();
  return released;
}

void ParkingLot::settle(Residents& residents) {
  // By index: a move may add a segment.
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    Segment& segment = *segments_[i];
    segment.dead = static_cast<std::uint32_t>(
        std::count_if(segment.entries.begin(), segment.entries.end(), [&](const Entry& entry) {
          return !residents.lives(entry.kind, entry.slot, entry.ticket);
        }));
    while (tidy(segment, residents)) continue;
    segment.strange = false;
  }
  remove_surplus();
}

std::size_t ParkingLot::messages() const {
  std::size_t count = 0;
  for (const std::unique_ptr<Segment>& segment : segments_) count += segment->entries.size();
  return count;
}

std::size_t ParkingLot::dead() const {
  std::size_t count = 0;
  for (const std::unique_ptr<Segment>& segment : segments_) count += segment->dead;
  return count;
}

}  // namespace pg_gateway
