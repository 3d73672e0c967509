"""The Python side: stock multiprocessing, which finds the manager's objects by name."""

import sys
from multiprocessing.managers import DictProxy, SyncManager


class Family(SyncManager):
    pass


Family.register("facts", proxytype=DictProxy)
Family.register("jobs")
Family.register("results")

address = sys.stdin.readline().strip()
key = bytes.fromhex(sys.stdin.readline())
family = Family(address, authkey=key)
family.connect()

facts, jobs, results = family.facts(), family.jobs(), family.results()
assert facts["server"] == "Rust"
facts["client"] = "Python"
for number in iter(jobs.get, None):
    results.put((number, number**2))
