"""Rate limits: counted in the process, against shares that it takes from Redis in advance."""
