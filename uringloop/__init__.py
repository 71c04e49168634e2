from .loop import Loop, new_event_loop
