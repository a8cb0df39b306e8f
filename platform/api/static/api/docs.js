// Starts Swagger UI. No inline script: the page's content security policy allows none.
"use strict";

const page = document.getElementById("swagger-ui");

SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: page.dataset.schema,
  deepLinking: true,
  displayOperationId: false,
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  requestInterceptor: (request) => {
    // A session needs the token for changes. It goes to this server only.
    if (new URL(request.url, location.href).origin === location.origin) {
      request.headers["X-CSRFToken"] = page.dataset.csrfToken;
    }
    return request;
  },
});
