"""Measures uringloop against asyncio and uvloop."""
