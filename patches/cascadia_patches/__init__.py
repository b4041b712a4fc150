"""Every place where Cascadia touches SGLang, as data. See `registry`."""
