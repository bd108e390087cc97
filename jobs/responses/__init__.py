"""`/v1/responses`, as a translation: its requests are asked as chats, and a chat's answer is told in its words."""
