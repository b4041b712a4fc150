"""The fork server's last preload: freezes imported objects for the garbage collector.

A full garbage collection walks every object that imports have made, about half a second in a
serving process, and again in every worker. Frozen objects are not walked.
"""

import gc

gc.collect()
gc.freeze()
