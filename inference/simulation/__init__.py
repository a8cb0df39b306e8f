"""How tenants share engines, played through with a virtual clock: the queue's own scripts against other schedulers.

`manage.py simulate_sharing` is the way in. Traces come from `traces`, the machine is `machine`, what decides is in
`schedulers`, what is told of a run in `measures` and `report`.
"""
