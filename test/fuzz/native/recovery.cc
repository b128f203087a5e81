// SPDX-License-Identifier: MIT
// What an earlier process has left in the file descriptor store: its parked messages and its
// ledger, as it made them, damaged, or made by somebody else. What is taken up from that is
// consistent, no client meets another's server, and no descriptor is forgotten.
//
// Input: what that process did, step by step; then what has gone missing.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "counters.h"
#include "input.h"
#include "session_store.h"
#include "shelf.h"
#include "support.h"

using namespace pg_gateway;
using fuzz::Input;
using fuzz::require;

namespace {

constexpr std::size_t kMostSteps = 40;
constexpr std::size_t kMostSessions = 6;
constexpr int kHighestFd = 256;

int open_below(int limit) {
  int open = 0;
  for (int fd = 0; fd < limit; ++fd) open += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return open;
}

ino_t file_of(int fd) {
  struct stat facts {};
  return fd >= 0 && ::fstat(fd, &facts) == 0 ? facts.st_ino : 0;
}

// The earlier process, and the peers of its sessions.
class Earlier {
 public:
  explicit Earlier(test::Shelf& shelf) : shelf_(shelf), store_(shelf.store()) {
    std::vector<Survivor> none;
    RecoveryReport report;
    require(!store_.open({}, none, report), "a store can be begun");
    pool_.set_keeper(&store_);
  }

  void step(Input& input) {
    switch (input.choice(12)) {
      case 0:
      case 1:
        return admit(input);
      case 2:
        return update(input);
      case 3:
      case 4:
        return pass_bytes(input);
      case 5:
        return stop_on_the_way(input);
      case 6:
        return end(input);
      case 7:
        return park_something(input);
      case 8:
        return damage(input);
      case 9:
        return hang_up(input);
      case 10:
        store_.write_note(input.bytes(input.choice(16)));
        return;
      default:
        store_.note_set_up({input.number<std::uint32_t>(), input.number<std::int64_t>(), 0});
        return;
    }
  }
  void leave() {
    store_.freeze();
    pipes_.clear();
    sessions_.clear();  // the peers stay
  }
  // These two were parked in one message.
  bool belong_together(int client, int backend) const {
    return together_.contains({file_of(client), file_of(backend)});
  }

 private:
  struct Resident {
    Kept kept;
    UniqueFd client;
    UniqueFd backend;
    bool tcp = true;
    std::size_t peers = 0;  // index of the client's; the server's is behind it
  };

  Resident* resident(Input& input) {
    return sessions_.empty() ? nullptr : &sessions_[input.choice(sessions_.size())];
  }
  static BackendFacts facts(Input& input, int fd) {
    return {fd, 1U + static_cast<std::uint32_t>(input.choice(3)),
            static_cast<std::uint16_t>(input.choice(2) == 0 ? input.choice(4) : 1000),
            static_cast<std::uint32_t>(input.choice(8) == 0 ? 1 : 0)};
  }
  void remember(const Resident& one) {
    together_.insert({file_of(one.client.get()), file_of(one.backend.get())});
  }

  void admit(Input& input) {
    if (sessions_.size() == kMostSessions) return;
    Resident one;
    one.tcp = input.choice(4) != 0;
    test::Pair client = one.tcp ? test::tcp_pair() : test::unix_pair();
    one.client = std::move(client.b);
    one.peers = peers_.size();
    peers_.push_back(std::move(client.a));
    peers_.emplace_back();
    if (input.choice(4) != 0) give_server(one);
    store_.admit(one.kept, one.client.get(), one.tcp, facts(input, one.backend.get()));
    remember(one);
    sessions_.push_back(std::move(one));
  }
  void give_server(Resident& one) {
    test::Pair server = test::tcp_pair();
    one.backend = std::move(server.a);
    test::reset_connection(peers_[one.peers + 1]);
    peers_[one.peers + 1] = std::move(server.b);
  }
  void update(Input& input) {
    Resident* one = resident(input);
    if (one == nullptr) return;
    if (input.choice(4) != 0) give_server(*one);
    store_.update(one->kept, one->client.get(), one->tcp, facts(input, one->backend.get()));
    remember(*one);
  }
  // From a peer through the session, or only a part of the way.
  void pass_bytes(Input& input) {
    Resident* one = resident(input);
    if (one == nullptr || !one->backend.valid()) return;
    const bool up = input.choice(2) == 0;
    const int from = up ? one->client.get() : one->backend.get();
    const int to = up ? one->backend.get() : one->client.get();
    const int source = peers_[one->peers + (up ? 0 : 1)].get();
    const std::string_view bytes = input.bytes(1 + input.choice(40));
    if (source < 0 || ::send(source, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
      return;
    }
    std::array<char, 64> buffer;
    if (input.choice(8) == 0) return;
    const ssize_t got = ::recv(from, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got <= 0 || input.choice(16) == 0) return;
    (void)::send(to, buffer.data(), static_cast<std::size_t>(got), MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  void stop_on_the_way(Input& input) {
    Resident* one = resident(input);
    std::unique_ptr<Pipe> pipe = pool_.take();
    if (pipe == nullptr || pipes_.size() == kMostSessions) return;
    const bool up = input.choice(2) == 0;
    const KeptId id = one != nullptr ? one->kept.id : input.number<KeptId>();
    pipe->mark(pipe_owner(id, up ? Direction::kUp : Direction::kDown));
    const std::string_view bytes = input.bytes(1 + input.choice(16));
    const int source = one == nullptr ? -1 : peers_[one->peers + (up ? 0 : 1)].get();
    const int from = one == nullptr ? -1 : up ? one->client.get() : one->backend.get();
    if (source < 0 || from < 0 || input.choice(8) == 0) {
      (void)::write(pipe->write_end.get(), bytes.data(), bytes.size());
    } else if (::send(source, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
      (void)::splice(from, nullptr, pipe->write_end.get(), nullptr, 4096, SPLICE_F_NONBLOCK);
    }
    pipes_.push_back(std::move(pipe));
  }
  void end(Input& input) {
    if (input.choice(4) == 0) {
      if (!pipes_.empty()) pipes_.erase(pipes_.begin());
      return;
    }
    if (sessions_.empty()) return;
    const std::size_t which = input.choice(sessions_.size());
    store_.end(sessions_[which].kept);
    if (input.choice(2) == 0) store_.discharge(sessions_[which].kept);
    sessions_.erase(sessions_.begin() + static_cast<std::ptrdiff_t>(which));
  }
  void hang_up(Input& input) {
    if (peers_.empty()) return;
    UniqueFd& peer = peers_[input.choice(peers_.size())];
    if (!peer.valid()) return;
    if (input.choice(2) == 0) {
      ::shutdown(peer.get(), SHUT_WR);
    } else {
      test::reset_connection(peer);
    }
  }

  // Past the core, which would not park such a thing.
  void park_something(Input& input) {
    const auto segment = shelf_.kept().find("lot-0-in");
    if (segment == shelf_.kept().end()) return;
    ParkedMessage message;
    message.kind = static_cast<ParkedKind>(input.choice(4));
    message.tcp_client = static_cast<std::uint8_t>(input.choice(2));
    message.slot = input.number<std::uint8_t>() % 20;
    message.id = input.number<std::uint8_t>() % 20;
    if (input.choice(4) == 0) message.slot = input.number<std::uint32_t>();
    if (input.choice(4) == 0) message.id = input.number<KeptId>();
    if (input.choice(8) == 0) message.version = input.number<std::uint32_t>();
    message.revision = static_cast<std::uint32_t>(input.choice(4));
    message.declined = static_cast<std::uint32_t>(input.choice(3));
    std::array<ParkedMessage, 2> text = {message, message};
    constexpr std::array<std::size_t, 8> kSizes = {40, 40, 40, 40, 1, 39, 41, 80};
    iovec data{text.data(), kSizes[input.choice(kSizes.size())]};
    std::array<int, 4> fds{};
    const std::size_t count = input.choice(fds.size() + 1);
    for (std::size_t i = 0; i < count; ++i) fds[i] = some_fd(input);
    if (count == 2) together_.insert({file_of(fds[0]), file_of(fds[1])});
    if (count == 1) together_.insert({file_of(fds[0]), 0});
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof fds)> control{};
    msghdr envelope{};
    envelope.msg_iov = &data;
    envelope.msg_iovlen = 1;
    if (count > 0) {
      envelope.msg_control = control.data();
      envelope.msg_controllen = CMSG_SPACE(sizeof(int) * count);
      cmsghdr* header = CMSG_FIRSTHDR(&envelope);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int) * count);
      std::memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * count);
    }
    (void)::sendmsg(segment->second.get(), &envelope, MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  // One of a session's or a pipe's, or one that neither has.
  int some_fd(Input& input) {
    const std::size_t kind = input.choice(8);
    if (kind < 4 && !sessions_.empty()) {
      const Resident& one = sessions_[kind % sessions_.size()];
      const int fd = input.choice(2) == 0 ? one.client.get() : one.backend.get();
      if (fd >= 0) return fd;
    }
    if (kind < 6 && !pipes_.empty()) {
      return kind == 4 ? pipes_[0]->read_end.get() : pipes_[0]->write_end.get();
    }
    switch (kind % 4) {
      case 0:
        strange_.emplace_back(::open("/dev/null", O_RDWR | O_CLOEXEC));
        break;
      case 1:
        strange_.emplace_back(::epoll_create1(EPOLL_CLOEXEC));
        break;
      case 2:
        strange_.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        break;
      default:
        strange_.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        break;
    }
    return strange_.back().get();
  }
  // The words that mean something are at these places (ledger.cc).
  void damage(Input& input) {
    constexpr std::size_t kWord = sizeof(std::uint64_t);
    constexpr std::size_t kNotes = 8 * kWord;
    constexpr std::size_t kSessions = kNotes + 2 * (3 * kWord + Ledger::kMaxNote);
    constexpr std::size_t kPipes = kSessions + kWord * Ledger::kSessions;
    constexpr std::array<std::size_t, 4> kParts = {0, kNotes, kSessions, kPipes};
    const int fd = shelf_.kept().at(StoredFds::kLedgerName).get();
    const auto at = static_cast<off_t>(kParts[input.choice(4)] + kWord * input.choice(16));
    const std::uint64_t word =
        input.choice(2) == 0 ? input.number<std::uint64_t>() : input.number<std::uint8_t>();
    (void)::pwrite(fd, &word, sizeof word, at);
  }

  test::Shelf& shelf_;
  SessionStore store_;
  PipePool pool_;
  std::vector<Resident> sessions_;
  std::vector<UniqueFd> peers_;
  std::vector<std::unique_ptr<Pipe>> pipes_;
  std::vector<UniqueFd> strange_;
  std::set<std::pair<ino_t, ino_t>> together_;

 public:
  ~Earlier() {
    // Without a FIN's minute of memory in the kernel for each.
    for (UniqueFd& peer : peers_) {
      if (peer.valid()) test::reset_connection(peer);
    }
  }
};

void judge(const std::vector<Survivor>& survivors, const RecoveryReport& report,
           const Earlier& earlier) {
  require(survivors.size() == report.recovered + report.cut, "all that were recovered are there");
  require(!report.note.has_value() || report.note->size() <= Ledger::kMaxNote, "a note is bounded");
  std::set<std::uint32_t> slots;
  std::set<ino_t> files;
  for (const Survivor& survivor : survivors) {
    require(survivor.client.valid(), "a survivor has a client");
    require(survivor.kept.id != 0, "and a place in the store");
    require(survivor.server < kMaxServers, "its server has counters");
    require(slots.insert(survivor.kept.slot).second, "of its own");
    const bool served = survivor.stage != Stage::kWaiting;
    require(served == survivor.backend.valid(), "it has a server, unless it waits for one");
    require(served || !survivor.cut.has_value(), "who waits is not cut");
    if (served) {
      require(earlier.belong_together(survivor.client.get(), survivor.backend.get()),
              "no client meets another's server");
    }
    for (const Survivor::Way& way : survivor.ways) {
      require((way.pipe != nullptr) == (way.residue > 0), "bytes under way are in a pipe");
    }
  }
}

// The next process takes it up, ends some and keeps the others.
void take_up(test::Shelf& shelf, const Earlier& earlier, Input& input) {
  SessionStore store(shelf.store());
  std::vector<Survivor> survivors;
  RecoveryReport report;
  if (store.open(shelf.copies(), survivors, report)) return;
  judge(survivors, report, earlier);
  require(store.usage().sessions == survivors.size(), "the store keeps who survives");
  for (Survivor& survivor : survivors) {
    if (input.choice(3) != 0) continue;
    store.end(survivor.kept);
    store.discharge(survivor.kept);
  }
  test::Pair late = test::unix_pair();
  Kept kept;
  store.admit(kept, late.a.get(), false, {});
  for (const Survivor& survivor : survivors) {
    require(kept.id == 0 || kept.id != survivor.kept.id, "a new session has a new id");
  }
  store.discharge(kept);
  store.freeze();
}

void run(Input& input) {
  test::Shelf shelf;
  Earlier earlier(shelf);
  const std::size_t steps = 1 + input.choice(kMostSteps);
  for (std::size_t i = 0; i < steps && !input.empty(); ++i) earlier.step(input);
  earlier.leave();
  const std::size_t lost = input.choice(12);
  if (lost == 0) shelf.lose(StoredFds::kLedgerName);
  if (lost == 1) shelf.lose("lot-0-in");
  if (lost == 2) shelf.lose("lot-0-out");
  take_up(shelf, earlier, input);
  take_up(shelf, earlier, input);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const int before = open_below(kHighestFd);
  run(input);
  require(open_below(kHighestFd) == before, "no descriptor is forgotten");
  return 0;
}
