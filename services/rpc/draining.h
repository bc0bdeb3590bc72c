// Notifies streams that the server is shutting down, so that they end.
#ifndef SERVICES_RPC_DRAINING_H_
#define SERVICES_RPC_DRAINING_H_

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <utility>

namespace energysites {

// Thread-safe.
class Draining {
 public:
  using Listener = std::function<void()>;

  // Unsubscribes when destroyed. The listener does not run afterwards. A listener may destroy its
  // own subscription.
  class Subscription;

  // Calls `listener` once when draining begins; immediately if it has begun. The listener must not
  // block.
  std::unique_ptr<Subscription> Subscribe(Listener listener);

  void Begin();

 private:
  // Recursive, because a listener may destroy its own subscription.
  std::recursive_mutex mutex_;
  bool begun_ = false;
  std::list<Listener> listeners_;
};

class Draining::Subscription {
 public:
  ~Subscription() {
    const std::lock_guard<std::recursive_mutex> lock(draining_.mutex_);
    draining_.listeners_.erase(position_);
  }

 private:
  friend class Draining;
  Subscription(Draining& draining, std::list<Listener>::iterator position)
      : draining_(draining), position_(position) {}

  Draining& draining_;
  const std::list<Listener>::iterator position_;
};

inline std::unique_ptr<Draining::Subscription> Draining::Subscribe(Listener listener) {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  const auto position = listeners_.insert(listeners_.end(), std::move(listener));
  std::unique_ptr<Subscription> subscription(new Subscription(*this, position));
  if (begun_) (*position)();
  return subscription;
}

inline void Draining::Begin() {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  begun_ = true;
  for (auto next = listeners_.begin(); next != listeners_.end();) {
    // A copy, because the listener may destroy its subscription.
    const Listener listener = *next++;
    listener();
  }
}

}  // namespace energysites

#endif  // SERVICES_RPC_DRAINING_H_
