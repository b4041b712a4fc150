"""Between the router and SGLang's tokenizer manager: attempts and control calls."""
