"""From a cascade file and SGLang's flags to the processes of a worker."""
