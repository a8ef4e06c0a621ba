"""The page on which the endpoint can be tried."""
