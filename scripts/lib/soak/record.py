"""What the soak's clients came to, and which of their failures chaos explains."""

import collections
import dataclasses
import threading
import time

from lab import Failed


@dataclasses.dataclass
class Failure:
    """Something that did not go as it should.

    `kind` is `wrong` (octets that differ, a service that does not answer as it must: nothing explains
    that) or `lost` (a connection that ended, or was not to be had).
    """

    job: str
    kind: str
    text: str
    begin: float
    end: float
    explained: str = ""


@dataclasses.dataclass
class Event:
    """What happened to the network, and until when it may have cost a connection."""

    name: str
    begin: float
    end: float = float("inf")
    # Of which jobs; none: it costs nobody a connection.
    costs: tuple = ()
    # Retransmission timers have doubled meanwhile, and clients have limits of their own.
    grace: float = 20


class Record:
    """Filled by many threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.begin = time.monotonic()
        self.runs = collections.Counter()
        self.numbers = collections.Counter()
        self.failures, self.events = [], []

    def now(self):
        return time.monotonic() - self.begin

    def count(self, **numbers):
        with self.lock:
            self.numbers.update(numbers)

    def ended(self, job):
        with self.lock:
            self.runs[job] += 1

    def fail(self, job, kind, text, begin):
        with self.lock:
            self.failures.append(Failure(job, kind, " ".join(text.split())[:400], begin, self.now()))

    def attempt(self, lab, name, job):
        """Runs a job once. A thread must not end in silence, whatever happens in it."""
        begin = self.now()
        try:
            job()
            self.ended(name)
        except Failed as error:
            if not lab.closed:
                self.fail(name, "wrong", str(error), begin)
        except Exception as error:
            self.fail(name, "wrong", f"the soak itself: {error!r}", begin)

    def event(self, name, **options):
        event = Event(name, self.now(), **options)
        with self.lock:
            self.events.append(event)
        return event

    def explain(self):
        """Looked at when all is over, since a failure may be known before its cause has ended."""
        for failure in self.failures:
            if failure.kind != "lost":
                continue
            causes = {event.name for event in self.events if event.begin <= failure.end
                      and failure.begin <= event.end + event.grace
                      and ("all" in event.costs or failure.job in event.costs)}
            failure.explained = ", ".join(sorted(causes))
        return [failure for failure in self.failures if not failure.explained]
