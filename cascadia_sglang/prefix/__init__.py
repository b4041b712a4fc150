"""The workers' prefix caches: their content, its value, and warming."""
