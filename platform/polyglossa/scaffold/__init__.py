"""`polyglossa init`: from one's own files to a first recipe. Looks at a few hundred rows; starts nothing."""
