"""Chats: sessions kept per member or key, and the websocket at /ws/chat/.

Only config and the tests may import it.
"""
