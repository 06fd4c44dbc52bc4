import com.fasterxml.jackson.core.JsonPointer;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.MissingNode;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Plays the cases of {@code cases.py}, which says what they are, with Java's own HTTP client. */
public final class Cases {
    private static final Duration PATIENCE = Duration.ofSeconds(60);
    private static final ObjectMapper JSON = new ObjectMapper();

    private final HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private final Map<String, String> kept = new HashMap<>();
    private final List<String> wrong = new ArrayList<>();
    private final String base;

    private Cases(String base) {
        this.base = base;
    }

    public static void main(String[] arguments) throws Exception {
        Cases cases = new Cases(arguments[0]);
        JsonNode all = JSON.readTree(System.in);
        for (JsonNode one : all) {
            cases.play(one);
        }
        cases.wrong.forEach(System.out::println);
        if (!cases.wrong.isEmpty()) {
            System.exit(1);
        }
        System.out.println(all.size());
    }

    private void play(JsonNode one) throws Exception {
        String path = one.get("path").asText();
        for (Map.Entry<String, String> value : kept.entrySet()) {
            path = path.replace("{" + value.getKey() + "}", value.getValue());
        }
        JsonNode content = one.get("body");
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(base + path)).timeout(PATIENCE);
        request.method(one.get("method").asText(), content.isNull() ? BodyPublishers.noBody() : BodyPublishers.ofString(content.asText()));
        one.get("headers").properties().forEach(header -> request.header(header.getKey(), header.getValue().asText()));
        HttpResponse<String> response = answered(request.build(), one.get("status").asInt(), one.get("again").asBoolean());
        JsonNode body = response.body().isEmpty() ? MissingNode.getInstance() : JSON.readTree(response.body());
        compare(one, "status", one.get("status").asText(), String.valueOf(response.statusCode()), body);
        one.get("expectedHeaders").properties().forEach(header ->
            compare(one, header.getKey(), header.getValue().asText(), response.headers().firstValue(header.getKey()).orElse("null"), body));
        one.get("expected").properties().forEach(value -> {
            JsonNode there = body.at(JsonPointer.compile(value.getKey()));
            compare(one, value.getKey(), value.getValue().toString(), there.isMissingNode() ? "null" : there.toString(), body);
        });
        one.get("keep").properties().forEach(header ->
            response.headers().firstValue(header.getValue().asText()).ifPresent(value -> kept.put(header.getKey(), value)));
    }

    private HttpResponse<String> answered(HttpRequest request, int status, boolean again) throws Exception {
        Instant deadline = Instant.now().plus(PATIENCE);
        HttpResponse<String> response = client.send(request, BodyHandlers.ofString());
        while (again && response.statusCode() != status && Instant.now().isBefore(deadline)) {
            Thread.sleep(50);
            response = client.send(request, BodyHandlers.ofString());
        }
        return response;
    }

    private void compare(JsonNode one, String what, String expected, String got, JsonNode body) {
        if (!expected.equals(got)) {
            wrong.add("%s: %s is %s instead of %s in %s".formatted(one.get("name").asText(), what, got, expected, body));
        }
    }
}
