"""What starts components besides routes: events, schedules, queues and callbacks. Each becomes an ordinary request."""
