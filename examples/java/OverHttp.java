import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;

/**
 * Sends a command to crm-processor over HTTP with Java's own client, and asks again until there is an answer.
 *
 * <pre>
 *     java examples/java/OverHttp.java http://127.0.0.1:8080 updateCustomerCustomName \
 *         '{"requestId": "r-1", "customer": {"externalId": "c-1"}, "customName": "Ada"}'
 * </pre>
 *
 * The first argument may have several gateways, with commas between them. Prints the answer. Exit code 0: done, 1: refused, 3: no answer in
 * time, although the command may still take effect.
 */
public final class OverHttp {
    private static final Duration PATIENCE = Duration.ofSeconds(60);
    /** The answers after which nobody knows what became of the command. */
    private static final Set<Integer> UNSETTLED = Set.of(408, 429, 502, 503, 504);

    private final HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

    public static void main(String[] arguments) throws InterruptedException {
        Optional<HttpResponse<String>> answer = new OverHttp().ask(arguments[0].split(","), arguments[1], arguments[2]);
        answer.map(HttpResponse::body).ifPresentOrElse(System.out::println, () -> System.err.println("no answer in " + PATIENCE));
        System.exit(answer.isEmpty() ? 3 : answer.get().statusCode() == 200 ? 0 : 1);
    }

    /** Returns the one answer to a command, or nothing if there was none in time. The command has its request id. */
    Optional<HttpResponse<String>> ask(String[] gateways, String useCase, String command) throws InterruptedException {
        Instant deadline = Instant.now().plus(PATIENCE);
        long pause = 200;
        for (int attempt = 0; Instant.now().isBefore(deadline); attempt++) {
            URI place = URI.create(gateways[attempt % gateways.length] + "/v1/" + useCase);
            // A gateway waits ten seconds for a reply; whoever hangs up before learns less than it could have.
            HttpRequest request = HttpRequest.newBuilder(place).timeout(Duration.ofSeconds(15))
                .header("Content-Type", "application/json").POST(BodyPublishers.ofString(command)).build();
            try {
                HttpResponse<String> response = client.send(request, BodyHandlers.ofString());
                if (!UNSETTLED.contains(response.statusCode())) {
                    return Optional.of(response);
                }
                pause = Math.max(pause, 1000 * response.headers().firstValueAsLong("retry-after").orElse(0));
            } catch (IOException e) {
                // Perhaps the gateway has the command, perhaps not. To send it again is safe, because it has its request id.
            }
            // Not all clients shall come back at the same instant.
            Thread.sleep(pause / 2 + ThreadLocalRandom.current().nextLong(pause / 2));
            pause = Math.min(pause * 2, 5000);
        }
        return Optional.empty();
    }
}
