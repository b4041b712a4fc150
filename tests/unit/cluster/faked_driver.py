"""Stands in for Ray's driver: answers what it is asked, and ends when it is told to."""

import os
import sys
from multiprocessing.connection import Connection

from cascadia_sglang.cluster.wire import AgentAnswer, Call, Connected, Keep, Sign

pipe = Connection(int(sys.argv[1]))
order = pipe.recv()
pipe.send(Connected(address="127.0.0.1" if order.is_first else "127.0.0.2"))
while True:
    try:
        message = pipe.recv()
    except EOFError:
        message = None
    if message is None:
        sys.exit(0)
    if isinstance(message, Keep):
        name = ",".join(sorted(message.wanted.worker_ids))
        pipe.send(Sign(number=message.number, agent=name, host=str(os.getpid())))
    elif isinstance(message, Call) and message.method == "end":
        os._exit(3)
    elif isinstance(message, Call) and message.method == "fail":
        pipe.send(AgentAnswer(call_id=message.call_id, error="its node was lost"))
    elif isinstance(message, Call) and message.method == "echo":
        pipe.send(AgentAnswer(call_id=message.call_id, value=message.argument))
