"""What stands before plain SGLang servers in place of the cascade: proxies and routers."""
